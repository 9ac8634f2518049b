"""Customer relationships as data: identifiers, folding, plans, guards, file bytes. No I/O."""
