"""Plain requests: designs, documents, pictures, images, sessions, pages, health."""
