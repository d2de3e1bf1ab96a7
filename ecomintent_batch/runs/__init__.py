"""The life of a run in OUT: plan, receipts, commit, verification, clean-up."""
