"""Steps around the loss that do not depend on a trainer: functions and small objects. Only `padding` imports torch."""
