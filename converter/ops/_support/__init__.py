"""What rows of several families share; no operator is declared here."""
