"""The shared package of serverless-openclaw: rules (`turns`), adapters (`providers`, `telegram`, `stores`) and their wiring."""
