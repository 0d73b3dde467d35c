"""The portal: datasets found, understood, compared and fused, and runs watched, in a browser on one's own machine."""
