"""The manifests and the image."""
