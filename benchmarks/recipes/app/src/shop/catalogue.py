"""What the shop sells, for people and for programs."""
# What the shop imports is installed in its images alone.
# mypy: ignore-errors

import requests
from flask import Blueprint, Response, abort, current_app, jsonify
from sqlalchemy import select
from sqlalchemy.orm import Session

from shop.models import Product

bp = Blueprint("catalogue", __name__)


@bp.get("/products")
def products() -> Response:
    """Return everything that is for sale, by name."""
    with Session(current_app.extensions["shop"]) as session:
        found = session.scalars(select(Product).order_by(Product.name))
        return jsonify([{"name": product.name, "price": str(product.price)} for product in found])


@bp.get("/rates/<currency>")
def rates(currency: str) -> Response:
    """Return an exchange rate, as the service that RATES_URL names knows it."""
    try:
        return jsonify(requests.get(current_app.config["RATES_URL"], params={"to": currency}, timeout=2).json())
    except (KeyError, requests.RequestException):
        abort(503)
