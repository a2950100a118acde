"""Planning: from the data, the device and the time to every number of the training."""

from medseg.planning.decide import make_plan
from medseg.planning.device import DeviceFacts, inspect_device
from medseg.planning.plan import ChannelNormalisation, Plan

__all__ = ["ChannelNormalisation", "DeviceFacts", "Plan", "inspect_device", "make_plan"]
