// Original file: proto/provider.proto

export const descriptor = {
  "nested": {
    "v1alpha1": {
      "nested": {
        "CSIDriverProvider": {
          "methods": {
            "Version": {
              "requestType": "VersionRequest",
              "responseType": "VersionResponse"
            },
            "Mount": {
              "requestType": "MountRequest",
              "responseType": "MountResponse"
            }
          }
        },
        "VersionRequest": {
          "fields": {
            "version": {
              "type": "string",
              "id": 1
            }
          }
        },
        "VersionResponse": {
          "fields": {
            "version": {
              "type": "string",
              "id": 1
            },
            "runtimeName": {
              "type": "string",
              "id": 2,
              "protoName": "runtime_name"
            },
            "runtimeVersion": {
              "type": "string",
              "id": 3,
              "protoName": "runtime_version"
            }
          }
        },
        "MountRequest": {
          "fields": {
            "attributes": {
              "type": "string",
              "id": 1
            },
            "secrets": {
              "type": "string",
              "id": 2
            },
            "targetPath": {
              "type": "string",
              "id": 3,
              "protoName": "target_path"
            },
            "permission": {
              "type": "string",
              "id": 4
            },
            "currentObjectVersion": {
              "rule": "repeated",
              "type": "ObjectVersion",
              "id": 5,
              "protoName": "current_object_version"
            }
          }
        },
        "MountResponse": {
          "fields": {
            "objectVersion": {
              "rule": "repeated",
              "type": "ObjectVersion",
              "id": 1,
              "protoName": "object_version"
            },
            "error": {
              "type": "Error",
              "id": 2
            },
            "files": {
              "rule": "repeated",
              "type": "File",
              "id": 3
            }
          }
        },
        "File": {
          "fields": {
            "path": {
              "type": "string",
              "id": 1
            },
            "mode": {
              "type": "int32",
              "id": 2
            },
            "contents": {
              "type": "bytes",
              "id": 3
            }
          }
        },
        "ObjectVersion": {
          "fields": {
            "id": {
              "type": "string",
              "id": 1
            },
            "version": {
              "type": "string",
              "id": 2
            }
          }
        },
        "Error": {
          "fields": {
            "code": {
              "type": "string",
              "id": 1
            }
          }
        }
      }
    }
  }
} as const;
