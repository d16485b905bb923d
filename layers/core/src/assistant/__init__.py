"""The shared package: rules (`turns`), adapters (`providers`, `telegram`, `stores`) and their wiring."""
