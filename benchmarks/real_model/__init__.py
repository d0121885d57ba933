"""StepCoder on a pretrained code model: pass rates of the stages, gradients, and training with LoRA."""
