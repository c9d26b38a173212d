from django.http import HttpResponse
from django.views.decorators.csrf import csrf_exempt

from books.models import Book


@csrf_exempt
def index(request):
    if request.method == "POST":
        Book.objects.create(title=request.POST["title"])
    return HttpResponse("\n".join(book.title for book in Book.objects.all()))


def healthz(request):
    return HttpResponse("well")
