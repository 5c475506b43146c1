// Command etcd is etcd's own server. Its module has replace directives, which `go install` refuses,
// so it is built as a dependency of this one.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
