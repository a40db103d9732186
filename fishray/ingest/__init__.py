"""From videos, folders of images and series of speeds to recordings in a store."""
