"""Images: what to build and how, their names, and the records of builds."""
