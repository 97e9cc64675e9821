"""What steps leave behind: artifacts, manifests, hashes of code, the hardware that they were made on."""
