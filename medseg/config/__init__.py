"""What a study is: one YAML file, validated."""

from medseg.config.base import Section
from medseg.config.data import AugmentConfig, DataConfig, PlanConfig
from medseg.config.load import dump_study, load_study, parse_study, study_schema
from medseg.config.model import EfficientUNetConfig, LossConfig, ModelConfig, UNetConfig
from medseg.config.study import InferenceConfig, MetricsConfig, StudyConfig, TrackConfig, privacy_problems
from medseg.config.train import (
    AdamConfig,
    FewShotConfig,
    OptimizerConfig,
    PretrainConfig,
    PrivacyConfig,
    ScheduleConfig,
    TrainConfig,
)

__all__ = [
    "AdamConfig",
    "AugmentConfig",
    "DataConfig",
    "EfficientUNetConfig",
    "FewShotConfig",
    "InferenceConfig",
    "LossConfig",
    "MetricsConfig",
    "ModelConfig",
    "OptimizerConfig",
    "PlanConfig",
    "PretrainConfig",
    "PrivacyConfig",
    "ScheduleConfig",
    "Section",
    "StudyConfig",
    "TrackConfig",
    "TrainConfig",
    "UNetConfig",
    "dump_study",
    "load_study",
    "parse_study",
    "privacy_problems",
    "study_schema",
]
