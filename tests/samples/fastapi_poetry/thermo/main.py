from fastapi import FastAPI
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="thermo_")
    unit: str = "C"


settings = Settings()
app = FastAPI()


@app.get("/")
async def current():
    return {"temperature": 21.5, "unit": settings.unit}


@app.get("/health")
async def health():
    return {"status": "ok"}
