module keyferry/dso-shim

go 1.24.0
