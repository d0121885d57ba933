"""What every process of the executor knows: messages, frames, values, scratch folders."""
