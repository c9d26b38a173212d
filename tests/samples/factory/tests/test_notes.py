from notes import create_app


def test_a_note_is_kept(tmp_path):
    client = create_app({"DATABASE": str(tmp_path / "notes.db")}).test_client()
    assert client.post("/", data={"text": "buy milk"}).status_code == 201
    assert client.get("/").text == "buy milk"
