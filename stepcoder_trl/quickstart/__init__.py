"""Quickstart: StepCoder on generated problems and a tiny model, in minutes on a CPU, without a download."""
