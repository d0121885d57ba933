"""PPO with a curriculum of completion subtasks and an execution-masked loss, on TRL's `PPOTrainer`."""

from stepcoder_trl.trainer.ppo_config import StepCoderPPOConfig
from stepcoder_trl.trainer.ppo_trainer import StepCoderPPOTrainer


__all__ = ["StepCoderPPOConfig", "StepCoderPPOTrainer"]
