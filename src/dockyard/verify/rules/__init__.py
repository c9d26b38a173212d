"""The rules of the policy, by what they look at."""
