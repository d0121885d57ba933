"""
What any trainer does around its loss, with no trainer in sight: functions and small frozen objects.

Only `padding` imports torch.
"""
