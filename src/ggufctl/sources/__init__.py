"""Where the bytes of a header come from: this disk, any HTTP server, the Hugging Face Hub."""
