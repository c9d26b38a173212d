import { mkdirSync, writeFileSync } from "node:fs";

mkdirSync("static/dist", { recursive: true });
writeFileSync("static/dist/index.html", "<!doctype html><title>Built</title><p>Built</p>");
