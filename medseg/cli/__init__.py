"""The command line: files in, files out; nothing here but arguments, progress and messages."""
