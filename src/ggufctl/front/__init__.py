"""What owns a server's port here, a process of its own; nothing else imports aiohttp."""
