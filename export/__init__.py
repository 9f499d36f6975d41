"""From a trained network to a bundle that the detector runs. Never imported by the detector."""
