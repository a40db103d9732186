"""What is measured on a recording: the speed ỹ, and the labels that follow from it."""
