// Package manifests checks the Kubernetes manifests of deploy/ as the API server would: strictly by the types of k8s.io/api, and by its own checks of
// the Pod Security level "restricted". It is a test and nothing else, and in this module because the program needs none of Kubernetes.
//
// Its one trap: the API server also validates values (a name's characters, a quantity's sign), and that code is not in a module of its own.
// What matters here of it is in TestJobs.
package manifests

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

const dir = "../../deploy/kubernetes/"

// decode reads the documents of a file. What no type has, is there twice or is of another type is an error.
func decode(text []byte) (objects []runtime.Object, err error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{batchv1.AddToScheme, corev1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	s := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme, json.SerializerOptions{Yaml: true, Strict: true})
	for i, doc := range bytes.Split(text, []byte("\n---\n")) {
		o, _, err := s.Decode(doc, nil, nil)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", i+1, err)
		}
		objects = append(objects, o)
	}
	return objects, nil
}

// forbidden lists what the level restricted, in its newest version, does not let pass.
func forbidden(t *testing.T, p corev1.PodTemplateSpec) []string {
	t.Helper()
	e, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range e.EvaluatePod(api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}, &p.ObjectMeta, &p.Spec) {
		if !r.Allowed {
			out = append(out, r.ForbiddenReason+": "+r.ForbiddenDetail)
		}
	}
	return out
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(dir + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// jobs are the Jobs of a file.
func jobs(t *testing.T, text []byte) (out []*batchv1.Job) {
	t.Helper()
	objects, err := decode(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if j, ok := o.(*batchv1.Job); ok {
			out = append(out, j)
		}
	}
	return out
}

// TestManifests catches a field that the API does not have, and a pod that a namespace of the level restricted would not admit.
func TestManifests(t *testing.T) {
	for name, want := range map[string]int{"tcplab.yaml": 1, "report.yaml": 1} {
		found := jobs(t, read(t, name))
		if len(found) != want {
			t.Errorf("%s: got %d Jobs, want %d", name, len(found), want)
		}
		for _, j := range found {
			for _, why := range forbidden(t, j.Spec.Template) {
				t.Errorf("%s: Job %s: %s", name, j.Name, why)
			}
		}
	}
}

// TestJobs catches a Job whose pods do not share the list: not indexed, another number of parts than pods, a container that the rule of
// failures does not name, a volume that is not there; and a namespace that does not enforce the level.
func TestJobs(t *testing.T) {
	text := read(t, "tcplab.yaml")
	j := jobs(t, text)[0]
	spec, c := j.Spec, j.Spec.Template.Spec.Containers[0]
	if spec.CompletionMode == nil || *spec.CompletionMode != batchv1.IndexedCompletion || spec.Completions == nil {
		t.Fatalf("got %v, %v completions, want an Indexed Job with a number of them", spec.CompletionMode, spec.Completions)
	}
	env := map[string]string{}
	for _, e := range c.Env {
		env[e.Name] = e.Value
	}
	if want := fmt.Sprint(*spec.Completions); env["TCPLAB_SHARD_COUNT"] != want {
		t.Errorf("got TCPLAB_SHARD_COUNT=%s, want the %s completions", env["TCPLAB_SHARD_COUNT"], want)
	}
	if r := spec.PodFailurePolicy.Rules[0]; *r.OnExitCodes.ContainerName != c.Name || spec.Template.Spec.RestartPolicy != corev1.RestartPolicyNever || spec.BackoffLimitPerIndex == nil {
		t.Errorf("got a rule for %s, restarts %s, %v: want one for %s, Never, and a limit for each index", *r.OnExitCodes.ContainerName, spec.Template.Spec.RestartPolicy, spec.BackoffLimitPerIndex, c.Name)
	}
	objects, err := decode(text)
	if err != nil {
		t.Fatal(err)
	}
	claims, enforced := map[string]bool{}, ""
	for _, o := range objects {
		switch o := o.(type) {
		case *corev1.PersistentVolumeClaim:
			claims[o.Name] = true
		case *corev1.Namespace:
			enforced = o.Labels[api.EnforceLevelLabel]
		}
	}
	if enforced != string(api.LevelRestricted) {
		t.Errorf("the namespace enforces %q, want restricted", enforced)
	}
	for _, j := range append(jobs(t, read(t, "report.yaml")), j) {
		mounts := map[string]bool{}
		for _, v := range j.Spec.Template.Spec.Volumes {
			mounts[v.Name] = true
			if p := v.PersistentVolumeClaim; p != nil && !claims[p.ClaimName] {
				t.Errorf("Job %s: no claim %s", j.Name, p.ClaimName)
			}
		}
		for _, m := range j.Spec.Template.Spec.Containers[0].VolumeMounts {
			if !mounts[m.Name] {
				t.Errorf("Job %s: no volume %s", j.Name, m.Name)
			}
		}
		if j.Namespace != "tcplab" {
			t.Errorf("Job %s: namespace %q, want the one of the level", j.Name, j.Namespace)
		}
	}
}

// TestChecks is the negative control: each manifest has one fault, and the checks must name it.
func TestChecks(t *testing.T) {
	text := string(read(t, "tcplab.yaml"))
	for _, c := range []struct{ name, old, new, want string }{
		{"unknown field", "completionMode:", "completionsMode:", `unknown field "spec.completionsMode"`},
		{"a field in another case", "completions: 3", "Completions: 3", `unknown field "spec.Completions"`},
		{"unknown kind", "kind: Job", "kind: Jobs", `no kind "Jobs"`},
		{"another type", "completions: 3", "completions: three", "cannot unmarshal string"},
		{"twice", "parallelism: 3", "parallelism: 3\n  parallelism: 3", `key "parallelism" already set`},
		{"privileged", "allowPrivilegeEscalation: false", "privileged: true", "privileged"},
		{"escalation", "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "allowPrivilegeEscalation != false"},
		{"root", "runAsNonRoot: true", "runAsNonRoot: false", "runAsNonRoot != true"},
		{"user 0", "runAsUser: 65532", "runAsUser: 0", "runAsUser=0"},
		{"capabilities kept", "drop: [ALL]", "drop: [NET_RAW]", "unrestricted capabilities"},
		{"a capability more", "drop: [ALL]", "drop: [ALL]\n              add: [NET_ADMIN]", "unrestricted capabilities"},
		{"no seccomp", "type: RuntimeDefault", "type: Unconfined", "seccompProfile"},
		{"the host's network", "restartPolicy: Never", "hostNetwork: true", "host namespaces"},
		{"a folder of the host", "emptyDir:\n            sizeLimit: 512Mi", "hostPath:\n            path: /tmp", "hostPath"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bad := strings.Replace(text, c.old, c.new, 1)
			if bad == text {
				t.Fatalf("%q is not in the manifest", c.old)
			}
			var got []string
			objects, err := decode([]byte(bad))
			if err != nil {
				got = append(got, err.Error())
			}
			for _, o := range objects {
				if j, ok := o.(*batchv1.Job); ok {
					got = append(got, forbidden(t, j.Spec.Template)...)
				}
			}
			if !strings.Contains(strings.Join(got, "; "), c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
