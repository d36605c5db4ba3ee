/** An expression, the document to which it is applied, and what it gives. */
export type JmesPathCase = {
  readonly given: unknown;
  readonly expression: string;
  /** Null and undefined: nothing. */
  readonly result?: unknown;
  /** Any text: the expression is not valid, or cannot be applied. */
  readonly error?: string;
};

type CaseGroup = {
  readonly given: unknown;
  readonly cases: readonly Omit<JmesPathCase, 'given'>[];
};

const gives = (expression: string, result: unknown) => ({ expression, result });
const fails = (expression: string) => ({ expression, error: 'any' });

/** Every element of the grammar of https://jmespath.org/specification.html */
export const grammarCases: readonly CaseGroup[] = [
  {
    given: {
      user: 'app',
      'pass-word': 'p',
      port: 5432,
      tls: true,
      nothing: null,
      db: { user: 'u', pool: { max: 5, min: 1 } },
      hosts: [
        { name: 'a', port: 443, up: true, tags: ['x'] },
        { name: 'b', port: 80, up: false, tags: ['y', 'z'] },
        { name: 'c', port: 8080, up: true, tags: [] },
      ],
      list: ['l0', 'l1', 'l2', 'l3'],
    },
    cases: [
      // Identifiers and sub-expressions
      gives('user', 'app'),
      gives('"pass-word"', 'p'),
      gives('"\\u0075ser"', 'app'),
      gives('db.user', 'u'),
      gives('db."user"', 'u'),
      gives('db.pool.max', 5),
      gives('  db . user  ', 'u'),
      gives('nothing', null),
      gives('missing.user', null),
      fails('pass-word'),
      fails('db.'),
      fails('.db'),
      fails('db..user'),
      // Index
      gives('list[0]', 'l0'),
      gives('list[-1]', 'l3'),
      gives('list[9]', null),
      gives('hosts[1].tags[0]', 'y'),
      fails('list[a]'),
      fails('list[0'),
      // Slices
      gives('list[0:2]', ['l0', 'l1']),
      gives('list[1:]', ['l1', 'l2', 'l3']),
      gives('list[:2]', ['l0', 'l1']),
      gives('list[:]', ['l0', 'l1', 'l2', 'l3']),
      gives('list[::]', ['l0', 'l1', 'l2', 'l3']),
      gives('list[-2:]', ['l2', 'l3']),
      gives('list[::2]', ['l0', 'l2']),
      gives('list[1::2]', ['l1', 'l3']),
      gives('list[:3:2]', ['l0', 'l2']),
      gives('list[0:2:1]', ['l0', 'l1']),
      gives('list[::-1]', ['l3', 'l2', 'l1', 'l0']),
      gives('list[5:]', []),
      gives('hosts[1:].name', ['b', 'c']),
      gives('hosts[:2].tags[]', ['x', 'y', 'z']),
      gives('hosts[0:2] | [1].name', 'b'),
      gives('user[1:]', null),
      fails('list[::0]'),
      fails('list[0:1:2:3]'),
      fails('list[a:b]'),
      // Wildcards and flattening
      gives('hosts[*].name', ['a', 'b', 'c']),
      gives('db.*', ['u', { max: 5, min: 1 }]),
      gives('db.*.max', [5]),
      gives('hosts[*].tags', [['x'], ['y', 'z'], []]),
      gives('hosts[].tags[]', ['x', 'y', 'z']),
      gives('user[*]', null),
      fails('hosts[*'),
      // Filters and comparators
      gives("hosts[?name == 'b'].port", [80]),
      gives('hosts[?port > `100`].name', ['a', 'c']),
      gives('hosts[?port >= `443`].name', ['a', 'c']),
      gives('hosts[?port < `100`].name', ['b']),
      gives('hosts[?port <= `443`].name', ['a', 'b']),
      gives('hosts[?port != `80`].name', ['a', 'c']),
      gives('hosts[?up].name', ['a', 'c']),
      gives('hosts[?!up].name', ['b']),
      gives('hosts[?up && port == `443`].name', ['a']),
      gives('hosts[?!up || port == `443`].name', ['a', 'b']),
      gives("hosts[?(up || tags) && name != 'a'].name | [0]", 'b'),
      gives("hosts[?contains(tags, 'z')].name", ['b']),
      gives('port == `5432`', true),
      fails("hosts[?name = 'b']"),
      fails('hosts[?]'),
      // Or, and, not, parentheses, pipes
      gives('missing || user', 'app'),
      gives('user && port', 5432),
      gives('!tls', false),
      gives('!missing', true),
      gives('(missing || db).user', 'u'),
      gives('hosts[*].name | [0]', 'a'),
      gives('db | pool | max', 5),
      fails('(user'),
      fails('user ||'),
      // Multi-selects
      gives('[user, port]', ['app', 5432]),
      gives('{u: user, "p-w": "pass-word"}', { u: 'app', 'p-w': 'p' }),
      gives('db.[user, pool.max]', ['u', 5]),
      gives('hosts[*].{n: name, t: tags[0]} | [0]', { n: 'a', t: 'x' }),
      fails('{u user}'),
      fails('[user,]'),
      // The current node and literals
      gives('@.user', 'app'),
      gives("list[?@ == 'l1']", ['l1']),
      gives("join('-', [user, 'it\\'s'])", "app-it's"),
      gives('[user, `"text"`, `{"a": [1]}`, `null`]', ['app', 'text', { a: [1] }, null]),
      fails('user == `x'),
      fails("'user"),
      // Functions and expression references
      gives('abs(port)', 5432),
      gives('avg(hosts[*].port)', 2867.6666666666665),
      gives('ceil(port)', 5432),
      gives("contains(list, 'l1')", true),
      gives("ends_with(user, 'pp')", true),
      gives('floor(port)', 5432),
      gives("join(',', list)", 'l0,l1,l2,l3'),
      gives('keys(db.pool)', ['max', 'min']),
      gives('length(list)', 4),
      gives('map(&name, hosts)', ['a', 'b', 'c']),
      gives('max(hosts[*].port)', 8080),
      gives('max_by(hosts, &port).name', 'c'),
      gives('merge(db.pool, {min: port})', { max: 5, min: 5432 }),
      gives('min(hosts[*].port)', 80),
      gives('min_by(hosts, &port).name', 'b'),
      gives('not_null(missing, user)', 'app'),
      gives('reverse(list)', ['l3', 'l2', 'l1', 'l0']),
      gives('sort(reverse(list))', ['l0', 'l1', 'l2', 'l3']),
      gives('sort_by(hosts, &port)[*].name', ['b', 'a', 'c']),
      gives("starts_with(user, 'a')", true),
      gives('sum(hosts[*].port)', 8603),
      gives('to_array(user)', ['app']),
      gives("to_number('5') && port", 5432),
      gives('to_string(db.pool)', '{"max":5,"min":1}'),
      gives('type(db)', 'object'),
      gives('values(db.pool)', [5, 1]),
      fails('lenght(list)'),
      fails('length()'),
      fails('length(port)'),
      fails('&user'),
    ],
  },
  {
    given: [[0, 1, 2], [3], 'x'],
    cases: [
      gives('[0]', [0, 1, 2]),
      gives('[-1]', 'x'),
      gives('[1:]', [[3], 'x']),
      gives('[::-1]', ['x', [3], [0, 1, 2]]),
      gives('[0][1:]', [1, 2]),
      gives('[]', [0, 1, 2, 3, 'x']),
      gives('[*][0]', [0, 3]),
      gives("[?@ == 'x'] | [0]", 'x'),
      gives('@[2]', 'x'),
      gives('length(@)', 3),
    ],
  },
];
