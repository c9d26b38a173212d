"""An image's contents and behaviour, held against rules, against a rebuild and against its tests."""
