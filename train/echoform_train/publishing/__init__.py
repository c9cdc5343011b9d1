"""Models on their way to the Hub and back: card, push, fingerprint, verification."""
