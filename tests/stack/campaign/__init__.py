"""The live campaign: every fault through the whole chain, from a broken server to the notification of a team."""
