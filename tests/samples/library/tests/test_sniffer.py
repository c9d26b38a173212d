from sniffer import app


def test_a_pdf_is_known():
    assert app.test_client().post("/", data=b"%PDF-1.4").text == "application/pdf"
