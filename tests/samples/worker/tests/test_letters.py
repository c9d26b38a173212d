from mailer.letters import send


def test_a_letter_names_whom_it_goes_to():
    assert send("Ada") == "a letter to Ada"
