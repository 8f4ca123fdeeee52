"""A shape-only ggml: tensors and operations, graph order, scheduler, allocator."""
