"""The steps of a send: the lease, the last look at the market, the decision at the claim, the answer."""
