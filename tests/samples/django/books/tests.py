from django.test import TestCase

from books.models import Book


class BookTest(TestCase):
    def test_a_book_is_listed(self):
        Book.objects.create(title="Walden")
        self.assertContains(self.client.get("/"), "Walden")
