"""What self-supervised objectives share: heads, losses, memory, curriculum."""
