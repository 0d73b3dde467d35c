"""Federated training over several machines: what a site and the coordinator do, and engines that connect them."""
