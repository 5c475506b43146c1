//go:build tools

// Package main names the program that is built here, so that go.mod and go.sum hold all that it needs.
package main

import _ "github.com/traefik/traefik/v3/cmd/traefik"
