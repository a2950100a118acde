"""ArchiveSettings: where an archive is, who we are to it and what may go there, from a file that only you can read."""

from __future__ import annotations

import difflib
import os
import ssl
import stat
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, Field, SecretStr, ValidationError, model_validator

from medseg.config.base import Section
from medseg.errors import ConfigError
from medseg.types import Tier

__all__ = ["ArchiveSettings", "DicomSettings", "TlsSettings", "WebSettings", "load_archive", "tls_context"]

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_TITLE = Field(
    min_length=1, max_length=16, pattern=r"^[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]*[\x21-\x5b\x5d-\x7e])?$"
)


class TlsSettings(Section):
    """Whom to trust and how to show who we are. Paths are relative to the archive file."""

    ca: Path | None = None
    """Certificates (PEM) of the authority that signed the archive's; without it, those the system trusts."""
    certificate: Path | None = None
    """Our own certificate (PEM), where the archive asks for one."""
    key: Path | None = None
    """The private key of `certificate` (PEM)."""

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together; give both or neither")
        return self


class WebSettings(Section):
    """A DICOMweb service."""

    url: str
    """``https://host/path``, to which ``/studies`` can be added."""
    user: str | None = None
    """Name for HTTP basic authentication."""
    password: SecretStr | None = None
    """Password of `user`."""
    token: SecretStr | None = None
    """Bearer token, instead of `user` and `password`."""
    tls: TlsSettings = TlsSettings()
    """Certificates of the https connection."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise ValueError("url: expected https://host/path without a name or password in it")
        if (self.user is None) != (self.password is None) or (self.user is not None and self.token is not None):
            raise ValueError("expected user and password, or token, or none of the three")
        return self


class DicomSettings(Section):
    """A DICOM node that answers C-FIND, C-MOVE and C-STORE."""

    host: str
    """Name or address of the archive."""
    port: int = Field(ge=1, le=65535)
    """Its port."""
    title: str = _TITLE
    """Its AE title."""
    own_title: str = _TITLE
    """Our AE title, as the archive knows us."""
    own_port: int = Field(default=11112, ge=1, le=65535)
    """Port at which the archive delivers what C-MOVE asks for; open only while a pull runs."""
    own_address: str = "0.0.0.0"
    """Address of this machine at which `own_port` is opened."""
    user: str | None = None
    """Name for DICOM user identity negotiation."""
    password: SecretStr | None = None
    """Password of `user`."""
    tls: TlsSettings | None = None
    """Certificates; without this section the connection isn't encrypted."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.password is not None and self.user is None:
            raise ValueError("a password needs its user")
        return self


class ArchiveSettings(Section):
    """One archive.

    Example:
        >>> ArchiveSettings.model_validate({"dicomweb": {"url": "https://pacs.example/dicom-web"}}).tier
        'shareable'
    """

    tier: Tier = "shareable"
    """`shareable`: only what passes the gate without a find may be pushed there. `internal`: the hospital's own
    archive; what is pushed may carry a patient, if the archive holds that very study of that very patient already."""
    dicomweb: WebSettings | None = None
    """For `medseg dicomweb`."""
    dicom: DicomSettings | None = None
    """For `medseg pacs`."""
    unencrypted: bool = False
    """Allow connections without TLS, in which names, images and passwords can be read on the way. Connections within
    this machine need no permission."""
    timeout_seconds: float = Field(default=60.0, gt=0, le=3600)
    """How long to wait for an answer, in seconds."""
    attempts: int = Field(default=3, ge=1, le=100)
    """How often to go on after a lost connection from which nothing more has come."""

    @model_validator(mode="after")
    def _protected(self) -> Self:
        if self.dicomweb is None and self.dicom is None:
            raise ValueError("expected a section dicomweb, dicom, or both")
        web, node = self.dicomweb, self.dicom
        clear_web = web is not None and web.url.startswith("http:") and urlsplit(web.url).hostname not in _LOOPBACK
        clear_node = node is not None and node.tls is None and node.host not in _LOOPBACK
        if (clear_web or clear_node) and not self.unencrypted:
            raise ValueError(
                "expected https and a tls section: without them patients' names and the password can be read on the "
                "way. Where the network is trusted, say unencrypted: true"
            )
        return self


def load_archive(path: str | Path) -> ArchiveSettings:
    """Read an archive file; its relative paths become absolute.

    Raises:
        ConfigError: The file is missing, may be read by others, is no YAML, or has an unknown key or a wrong value; no
            value is ever quoted.
    """
    path = Path(path)
    content = _read_private(path)
    try:
        settings = ArchiveSettings.model_validate(content)
    except ValidationError as error:
        problems = [_explain(dict(item)) for item in error.errors(include_url=False, include_input=False)]
        raise ConfigError("the archive file is not valid:\n" + "\n".join(f"  - {p}" for p in problems)) from None
    return _with_absolute_paths(settings, path.resolve().parent)


def tls_context(tls: TlsSettings, *, server: bool = False) -> ssl.SSLContext:
    """A TLS context that trusts and shows what the settings say; a server's also demands a trusted certificate.

    Raises:
        ConfigError: A certificate or key cannot be read.
    """
    purpose = ssl.Purpose.CLIENT_AUTH if server else ssl.Purpose.SERVER_AUTH
    try:
        context = ssl.create_default_context(purpose, cafile=None if tls.ca is None else str(tls.ca))
        if tls.certificate is not None:
            context.load_cert_chain(str(tls.certificate), None if tls.key is None else str(tls.key))
    except (OSError, ssl.SSLError):
        raise ConfigError(
            "the archive file's tls section: expected certificates and a key without a passphrase, as PEM files; "
            "found one that cannot be read, or a key that belongs to another certificate"
        ) from None
    if server and tls.ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _read_private(path: Path) -> Any:
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError("expected an archive file, found none of that name; docs/pacs.md shows one") from None
    except (OSError, UnicodeDecodeError):
        raise ConfigError("expected an archive file, found something that cannot be read as text") from None
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        raise ConfigError(
            "expected an archive file that only you can read (mode 0600), found one that others can read too; run: "
            "chmod 600 on it, and change the password if somebody may have read it"
        )
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"the archive file is not valid YAML{where}") from None
    if not isinstance(content, dict):
        raise ConfigError("the archive file: expected a mapping with a section dicomweb or dicom")
    return content


def _explain(error: dict[str, Any]) -> str:
    location = [str(part) for part in error["loc"]]
    if error["type"] == "extra_forbidden":
        known = sorted(_section(location[:-1]).model_fields)
        near = difflib.get_close_matches(location[-1], known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        # The unknown key isn't repeated: a password that slipped into its place would be.
        return f"{'.'.join(location[:-1]) or 'top level'}: unknown key; {hint}known keys: {', '.join(known)}"
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{'.'.join(location)}: {message}" if location else message


def _section(location: list[str]) -> type[BaseModel]:
    section: type[BaseModel] = ArchiveSettings
    for part in location:
        annotation = section.model_fields[part].annotation
        members = (annotation, *getattr(annotation, "__args__", ()))
        section = next(m for m in members if isinstance(m, type) and issubclass(m, BaseModel))
    return section


def _with_absolute_paths(settings: ArchiveSettings, folder: Path) -> ArchiveSettings:
    def absolute(tls: TlsSettings) -> TlsSettings:
        named = {name: getattr(tls, name) for name in ("ca", "certificate", "key")}
        return tls.model_copy(update={name: folder / p for name, p in named.items() if p is not None})

    web, node = settings.dicomweb, settings.dicom
    if web is not None:
        web = web.model_copy(update={"tls": absolute(web.tls)})
    if node is not None and node.tls is not None:
        node = node.model_copy(update={"tls": absolute(node.tls)})
    return settings.model_copy(update={"dicomweb": web, "dicom": node})
