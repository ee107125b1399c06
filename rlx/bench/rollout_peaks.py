"""Published speeds, by what JAX calls the device."""

# Bytes/s of one device; TPUs by chip.
BYTES_PER_S: dict[str, float] = {
  # NVIDIA's data sheets of each card: "GPU memory bandwidth".
  "NVIDIA B200": 8.0e12,
  "NVIDIA H200": 4.8e12,
  "NVIDIA H100 80GB HBM3": 3.35e12,
  "NVIDIA H100 PCIe": 2.0e12,
  "NVIDIA A100-SXM4-80GB": 2.039e12,
  "NVIDIA A100-SXM4-40GB": 1.555e12,
  "NVIDIA L4": 0.3e12,
  # Google Cloud's documentation of each version: "HBM bandwidth".
  "TPU v4": 1.2e12,
  "TPU v5 lite": 0.819e12,
  "TPU v5": 2.765e12,
  "TPU v6 lite": 1.64e12,
}

# Floating-point operations/s of one device in bfloat16; TPUs by chip.
FLOPS_PER_S: dict[str, float] = {
  # NVIDIA's data sheets of each card: "BFLOAT16 Tensor Core", without sparsity
  # (half of what the sheets of Hopper, Ada and Blackwell say with it).
  "NVIDIA B200": 2.25e15,
  "NVIDIA H200": 989e12,
  "NVIDIA H100 80GB HBM3": 989e12,
  "NVIDIA H100 PCIe": 756e12,
  "NVIDIA A100-SXM4-80GB": 312e12,
  "NVIDIA A100-SXM4-40GB": 312e12,
  "NVIDIA L4": 121e12,
  # Google Cloud's documentation of each version: "Peak compute per chip (bf16)".
  "TPU v4": 275e12,
  "TPU v5 lite": 197e12,
  "TPU v5": 459e12,
  "TPU v6 lite": 918e12,
}
