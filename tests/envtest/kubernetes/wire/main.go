// Writes src/apiserver/layout.tsv: how the Go structs of the served kinds are laid out in protobuf and JSON.
//
//	GOFLAGS=-mod=mod go run ./wire > ../../../src/apiserver/layout.tsv
//
// A line is: definition, field number, JSON name (empty: inlined), type, and "omitempty" where JSON leaves out the zero value.
// A type is one of text, int, bool, bytes, time, microtime, quantity, intOrString, raw, ignored, or a definition;
// before it "*" for a pointer, "[]" for a list, "map:" for a map by text.
package main

import (
	"bufio"
	"fmt"
	"os"
	"reflect"
	"sort"
	"strings"

	apps "k8s.io/api/apps/v1"
	authentication "k8s.io/api/authentication/v1"
	authorization "k8s.io/api/authorization/v1"
	autoscaling1 "k8s.io/api/autoscaling/v1"
	autoscaling2 "k8s.io/api/autoscaling/v2"
	batch "k8s.io/api/batch/v1"
	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	events "k8s.io/api/events/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	rbac "k8s.io/api/rbac/v1"
	storage "k8s.io/api/storage/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	registration "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

var roots = []any{
	core.Namespace{}, core.Node{}, core.Service{}, core.Endpoints{}, core.Pod{}, core.PersistentVolumeClaim{}, core.PersistentVolume{},
	core.ConfigMap{}, core.Secret{}, core.ServiceAccount{}, core.Event{}, core.ReplicationController{}, core.Binding{},
	apps.StatefulSet{}, apps.Deployment{}, apps.ReplicaSet{}, apps.DaemonSet{}, apps.ControllerRevision{},
	autoscaling1.HorizontalPodAutoscaler{}, autoscaling1.Scale{}, autoscaling2.HorizontalPodAutoscaler{},
	batch.Job{}, batch.CronJob{}, networking.Ingress{}, networking.IngressClass{}, networking.NetworkPolicy{},
	rbac.ClusterRole{}, rbac.ClusterRoleBinding{}, rbac.Role{}, rbac.RoleBinding{}, coordination.Lease{}, discovery.EndpointSlice{},
	events.Event{}, policy.PodDisruptionBudget{}, policy.Eviction{}, storage.StorageClass{}, registration.APIService{},
	authentication.SelfSubjectReview{}, authentication.TokenRequest{}, authorization.SelfSubjectAccessReview{}, meta.DeleteOptions{},
}

var scalars = map[string]string{
	"k8s.io/apimachinery/pkg/apis/meta/v1.Time":            "time",
	"k8s.io/apimachinery/pkg/apis/meta/v1.MicroTime":       "microtime",
	"k8s.io/apimachinery/pkg/apis/meta/v1.FieldsV1":        "raw",
	"k8s.io/apimachinery/pkg/api/resource.Quantity":        "quantity",
	"k8s.io/apimachinery/pkg/util/intstr.IntOrString":      "intOrString",
	"k8s.io/apimachinery/pkg/runtime.RawExtension":         "raw",
}

var done = map[string]bool{}
var lines []string

// definition names a type the way OpenAPI does.
func definition(t reflect.Type) string {
	path := strings.NewReplacer("k8s.io/api/", "io.k8s.api.", "k8s.io/apimachinery/", "io.k8s.apimachinery.",
		"k8s.io/kube-aggregator/", "io.k8s.kube-aggregator.").Replace(t.PkgPath())
	return strings.ReplaceAll(path, "/", ".") + "." + t.Name()
}

func spell(t reflect.Type) string {
	if name, ok := scalars[t.PkgPath()+"."+t.Name()]; ok {
		return name
	}
	switch t.Kind() {
	case reflect.Pointer:
		return "*" + spell(t.Elem())
	case reflect.Map:
		if t.Elem().Kind() == reflect.Slice && t.Elem().Elem().Kind() == reflect.String {
			return "ignored"
		}
		return "map:" + spell(t.Elem())
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "bytes"
		}
		return "[]" + spell(t.Elem())
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "bool"
	case reflect.Int32, reflect.Int64, reflect.Int:
		return "int"
	case reflect.Struct:
		walk(t)
		return definition(t)
	}
	panic(t.String())
}

func walk(t reflect.Type) {
	name := definition(t)
	if done[name] {
		return
	}
	done[name] = true
	for i := range t.NumField() {
		field := t.Field(i)
		wire := strings.Split(field.Tag.Get("protobuf"), ",")
		tags := strings.Split(field.Tag.Get("json"), ",")
		if len(wire) < 2 || tags[0] == "-" {
			continue
		}
		line := []string{name, wire[1], tags[0], spell(field.Type)}
		for _, tag := range tags[1:] {
			if tag == "omitempty" {
				line = append(line, tag)
			}
		}
		lines = append(lines, strings.Join(line, "\t"))
	}
}

func main() {
	for _, root := range roots {
		walk(reflect.TypeOf(root))
	}
	sort.SliceStable(lines, func(a, b int) bool { return strings.Split(lines[a], "\t")[0] < strings.Split(lines[b], "\t")[0] })
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for _, line := range lines {
		fmt.Fprintln(out, line)
	}
}
