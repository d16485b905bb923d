"""The commands, one module a theme: arguments in, one use case, a result out."""
