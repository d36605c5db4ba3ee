module keyferry/test/servers/old-provider

go 1.24.0
