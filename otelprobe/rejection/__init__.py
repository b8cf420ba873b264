"""Bad credentials as data: which there are, what each needs, how they are chosen, sent, and their answers judged."""
